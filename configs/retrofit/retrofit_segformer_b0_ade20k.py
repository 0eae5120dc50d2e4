# SegFormer-B0: fine features from the first stage of MiT.
_base_ = [
    "../_base_/models/segformer_b0.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/schedule_20k_point_head.py",
    "../_base_/default_runtime.py",
]
load_from = "https://download.openmmlab.com/mmsegmentation/v0.5/segformer/segformer_mit-b0_512x512_160k_ade20k/segformer_mit-b0_512x512_160k_ade20k_20210726_101530-8ffa8fda.pth"
model = dict(
    type="RetrofitEncoderDecoder",
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels=32,
        in_index=0,
        channels=256,
        point_head=dict(init_cfg=dict(type="CoarseIdentity")),
        num_classes=_base_.model.decode_head.num_classes,
    ),
)
