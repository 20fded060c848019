# With an average of the weights (decay 0.99996 at a batch of 1024, as in DeiT). It is what checkpoints hold as
# state_dict, and both it and the raw weights are validated.
_base_ = './ss-pvtv2-b0_8xb128_in1k.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ss_backbones.AveragedWeightsHook', momentum=4e-5),
]
