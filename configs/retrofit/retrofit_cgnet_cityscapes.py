# CGNet: fine features of strides 4 and 2.
_base_ = [
    "../_base_/models/fcn_cgnet.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/schedule_20k_point_head.py",
    "../_base_/default_runtime.py",
]
load_from = "https://download.openmmlab.com/mmsegmentation/v0.5/cgnet/cgnet_512x1024_60k_cityscapes/cgnet_512x1024_60k_cityscapes_20201101_110254-124ea03b.pth"
model = dict(
    type="RetrofitEncoderDecoder",
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels=[131, 35],
        in_index=[1, 0],
        channels=256,
        point_head=dict(init_cfg=dict(type="CoarseIdentity")),
        num_classes=_base_.model.decode_head.num_classes,
    ),
)
