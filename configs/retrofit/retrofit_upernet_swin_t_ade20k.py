# UPerNet on Swin-T: fine features from the first stage of Swin.
_base_ = [
    "../_base_/models/upernet_swin_t.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/schedule_20k_point_head.py",
    "../_base_/default_runtime.py",
]
load_from = "https://download.openmmlab.com/mmsegmentation/v0.5/swin/upernet_swin_tiny_patch4_window7_512x512_160k_ade20k_pretrain_224x224_1K/upernet_swin_tiny_patch4_window7_512x512_160k_ade20k_pretrain_224x224_1K_20210531_112542-e380ad3e.pth"
model = dict(
    type="RetrofitEncoderDecoder",
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels=96,
        in_index=0,
        channels=256,
        point_head=dict(init_cfg=dict(type="CoarseIdentity")),
        num_classes=_base_.model.decode_head.num_classes,
    ),
)
