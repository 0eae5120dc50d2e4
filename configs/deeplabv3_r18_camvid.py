_base_ = [
    "./_base_/models/deeplabv3_r18.py",
    "./_base_/datasets/camvid.py",
    "./_base_/schedules/schedule_1500.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    # The last layers stay as PyTorch initializes them, which learns sooner from scratch.
    decode_head=dict(num_classes=11, init_cfg=None),
)
