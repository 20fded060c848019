# UperNet on CamVid (11 classes, label 11 ignored; images/ and annotations/ with train/ and val/) from the weights of a
# backbone:
#   ss-backbones train experiments/camvid.py --cfg-options model.backbone.init_cfg.checkpoint=FILE
# and for the plain twin model.backbone.settings=uniform as well; from random weights model.backbone.init_cfg=None.
_base_ = '../configs/demo/upernet_ss-pvtv2-b0_shapes.py'

side = (320, 240)
data_root = 'data/camvid/'
work_dir = 'work_dirs/camvid'
names = 'sky building pole road pavement tree sign fence car pedestrian bicyclist'  # labels 0 to 10
palette = [(128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128)]
palette += [(64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)]
camvid = dict(classes=tuple(names.split()), palette=palette)
cross_entropy = dict(_delete_=True, type='CrossEntropyLoss')
head = dict(num_classes=11, ignore_index=11, channels=64)
model = dict(
    data_preprocessor=dict(size=side[::-1], seg_pad_val=11),
    backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='')),
    decode_head=dict(loss_decode=dict(loss_weight=1.0, **cross_entropy), **head),
    auxiliary_head=dict(loss_decode=dict(loss_weight=0.4, **cross_entropy), **head),
)

load, truth = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
resize = dict(type='Resize', scale=side, keep_ratio=False)
pack = dict(type='PackSegInputs')
images = dict(
    type='BaseSegDataset',
    _scope_='mmseg',
    data_root=data_root,
    img_suffix='.jpg',
    seg_map_suffix='.png',
    metainfo=camvid,
    ignore_index=11,
)
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'),
        pipeline=[load, truth, resize, dict(type='RandomFlip', prob=0.5), pack],
        **images,
    ),
)
val_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'),
        pipeline=[load, resize, truth, pack],
        **images,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=11)
test_evaluator = val_evaluator
train_cfg = dict(max_iters=600, val_interval=200)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
default_hooks = dict(checkpoint=dict(interval=600, save_best=None), logger=dict(interval=50))
randomness = dict(seed=0)
