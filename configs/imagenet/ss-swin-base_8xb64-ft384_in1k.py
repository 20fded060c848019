_base_ = './ss-vit-tiny_8xb64-ft384_in1k.py'

# The classifier to start from: epoch_300.pth of the 224 config, or --cfg-options model.init_cfg.checkpoint=FILE. Its
# tables of relative positions are resized from windows of 7 x 7 to 12 x 12.
checkpoint = ''

model = dict(
    backbone=dict(name='ss_swin_base_patch4_window12_384', drop_path_rate=0.5), init_cfg=dict(checkpoint=checkpoint)
)
