_base_ = [
    "./_base_/models/pointrend_r18.py",
    "./_base_/datasets/camvid.py",
    "./_base_/schedules/schedule_1500.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        num_classes=11,
        # The last layers stay as PyTorch initializes them, which learns sooner: docs/results.md
        coarse_head=dict(init_cfg=None),
        point_head=dict(init_cfg=None),
        renderer=dict(subdivision_num_points=1320),  # twice the default here: docs/results.md
    ),
)
