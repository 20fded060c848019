_base_ = './upernet_ss-pvtv2-b2_8xb2-160k_ade20k-512x512.py'

# Linear attention (UFO) in the stages of the two largest maps, where softmax attention takes most of the time. No plain
# weights become these: train the classifier (ss-backbones pretrain configs/imagenet/ss-pvtv2-b2_8xb128_in1k.py
# --cfg-options model.backbone.linear_stages=0,1), and pass --cfg-options model.backbone.init_cfg.checkpoint=FILE.
model = dict(backbone=dict(linear_stages=(0, 1)))
