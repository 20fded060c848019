# Learns from the labels and, half and half, from the classes that a trained timm model sees in the same images (DeiT's
# hard distillation, arXiv 2012.12877, section 4, with DeiT's teacher; without its distillation token). The teacher's
# weights are downloaded once; for a machine without internet: --cfg-options model.teacher.pretrained=False
# model.teacher.checkpoint_path=FILE
_base_ = './ss-pvtv2-b0_8xb128_in1k.py'

model = dict(teacher=dict(name='regnety_160.deit_in1k', pretrained=True, alpha=0.5))
