_base_ = './mask-rcnn_ss-pvtv2-b2_fpn_1x_coco.py'

# The backbone in bfloat16, the rest in float32. AmpOptimWrapper would put the heads in bfloat16 too: mmcv's RoIAlign,
# NMS and focal loss have no kernels for it, and box coordinates above 1024 would be rounded to 8 pixels.
model = dict(backbone=dict(bf16=True))
