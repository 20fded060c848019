_base_ = './ss-vit-tiny_8xb64-ft384_in1k.py'

# The classifier to start from: epoch_300.pth of the 224 config, or --cfg-options model.init_cfg.checkpoint=FILE.
checkpoint = ''

model = dict(backbone=dict(name='ss_vit_base_patch16_384'), init_cfg=dict(checkpoint=checkpoint))
