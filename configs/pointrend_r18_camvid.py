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
        # Each of these three helps in short trainings from scratch.
        detach_coarse=True,
        coarse_head=dict(init_cfg=None),  # PyTorch's own
        point_head=dict(init_cfg=dict(type="CoarseIdentity")),
        renderer=dict(subdivision_num_points=1320),  # by default 720
    ),
)
