# DeepLabV3+ on ResNet-18: fine features from ResNet's first stage (stride 4).
_base_ = [
    "../_base_/models/deeplabv3plus_r18.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/schedule_20k_point_head.py",
    "../_base_/default_runtime.py",
]
load_from = "https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3plus/deeplabv3plus_r18-d8_512x1024_80k_cityscapes/deeplabv3plus_r18-d8_512x1024_80k_cityscapes_20201226_080942-cff257fe.pth"
model = dict(
    type="RetrofitEncoderDecoder",
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels=64,
        in_index=0,
        channels=256,
        point_head=dict(init_cfg=dict(type="CoarseIdentity")),
        num_classes=_base_.model.decode_head.num_classes,
    ),
)
