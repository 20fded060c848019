# A search on CamVid (see camvid.py): a small plain Swin in UperNet, from random weights, is trained, searched and
# trained on. DATA is {train,val,test}_dataloader.dataset.data_root=DIR.
#   ss-backbones train experiments/camvid_search.py --work-dir dense --cfg-options DATA
#   ss-backbones search experiments/camvid_search.py --checkpoint dense/iter_600.pth --work-dir found --cfg-options DATA
#   ss-backbones train found/found.py --work-dir on --cfg-options DATA
_base_ = './camvid.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SSSwin',
        arch=dict(embed_dim=32, depths=(2, 2, 4, 2), num_heads=(1, 2, 4, 8)),
        settings='uniform',
        img_size=(240, 320),
        drop_path_rate=0.0,
    ),
    decode_head=dict(in_channels=[32, 64, 128, 256]),
    auxiliary_head=dict(in_channels=128),
)
search = dict(budget=0.7, lr=0.01)
