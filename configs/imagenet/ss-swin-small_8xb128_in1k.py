_base_ = './_base_/deit_300e.py'

# the recipe of DeiT and SS ViT with the drop path of Swin (arXiv 2103.14030, appendix A2.1)
model = dict(backbone=dict(name='ss_swin_small_patch4_window7_224', drop_path_rate=0.3))
