# SPViT's search (TPAMI 2024, its official code) in the recipe of the dense network, for a batch of 1024 images: 21
# epochs at a constant learning rate, without warm-up. tools/search.py --checkpoint FILE gives it the trained network.
_base_ = '../deit-tiny_8xb128_in1k.py'

train_cfg = dict(max_epochs=21)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = []
runner_type = 'ss_backbones.SearchRunner'
# 1.0 of 1.251 G multiply-adds; another --budget on the command line takes its place
search = dict(budget=0.8, weight=20.0, lr=1e-3)
