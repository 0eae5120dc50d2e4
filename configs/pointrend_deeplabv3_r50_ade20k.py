_base_ = [
    "./_base_/models/pointrend_deeplabv3_r50.py",
    "./_base_/datasets/ade20k.py",
    "./_base_/schedules/schedule_160k.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        num_classes=150,
        point_sampler=dict(num_points=2048),
        renderer=dict(subdivision_num_points=8192),
    ),
)
