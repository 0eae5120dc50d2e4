# HRNet-W18: fine features from its branch of stride 4.
_base_ = [
    "../_base_/models/fcn_hr18.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/schedule_20k_point_head.py",
    "../_base_/default_runtime.py",
]
load_from = "https://download.openmmlab.com/mmsegmentation/v0.5/hrnet/fcn_hr18_512x1024_160k_cityscapes/fcn_hr18_512x1024_160k_cityscapes_20200602_190822-221e4a4f.pth"
model = dict(
    type="RetrofitEncoderDecoder",
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels=18,
        in_index=0,
        channels=256,
        point_head=dict(init_cfg=dict(type="CoarseIdentity")),
        num_classes=_base_.model.decode_head.num_classes,
    ),
)
