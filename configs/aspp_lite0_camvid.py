_base_ = [
    "./_base_/models/aspp_lite0.py",
    "./_base_/datasets/camvid.py",
    "./_base_/schedules/schedule_1500_pretrained.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=11),
)
