# What follows ss-backbones inherit: 30 epochs in which the network learns from the labels and, half and half, from the
# probabilities that the plain network it inherited from sees in the same images. Rates are smaller towards the stem.
#
#   ss-backbones inherit PLAIN.pth ss_pvt_v2_b0 INHERITED.pth --images /data/imagenet/train
#   ss-backbones pretrain configs/imagenet/inherit/ss-pvtv2-b0_8xb128_in1k.py --data-root /data/imagenet \
#       --cfg-options model.init_cfg.checkpoint=INHERITED.pth model.teacher.checkpoint_path=PLAIN.pth
_base_ = '../ss-pvtv2-b0_8xb128_in1k.py'

inherited = ''
plain = ''

model = dict(
    init_cfg=dict(type='Pretrained', checkpoint=inherited),
    teacher=dict(name='ss_pvt_v2_b0', settings='uniform', checkpoint_path=plain, soft=True, alpha=0.5),
)
train_cfg = dict(max_epochs=30)
optim_wrapper = dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(layer_decay_rate=0.9))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-6, begin=1, convert_to_iter_based=True),
]
