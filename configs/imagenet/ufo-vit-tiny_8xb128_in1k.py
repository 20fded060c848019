_base_ = './_base_/deit_300e.py'

# the recipe of DeiT, as the paper's; its drop path is not known, this is XCiT's
model = dict(backbone=dict(name='ufo_vit_tiny_patch16_224', drop_path_rate=0.05))
