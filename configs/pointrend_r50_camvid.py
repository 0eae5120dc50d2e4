_base_ = [
    "./_base_/models/pointrend_r50.py",
    "./_base_/datasets/camvid.py",
    "./_base_/schedules/schedule_20k.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        num_classes=11,
        renderer=dict(subdivision_num_points=1320),  # by default 720
    ),
)
