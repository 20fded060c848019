_base_ = './_base_/deit_300e.py'

# the recipe of DeiT and SS ViT with the drop path of SS-XCiT, the same in all blocks; for patches of 8 pixels
# --cfg-options model.backbone.name=ss_xcit_tiny_12_p8_224
model = dict(backbone=dict(name='ss_xcit_tiny_12_p16_224', drop_path_rate=0.05))
