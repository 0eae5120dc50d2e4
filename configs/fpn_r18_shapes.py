_base_ = [
    "./_base_/models/fpn_r18.py",
    "./_base_/datasets/shapes.py",
    "./_base_/schedules/schedule_200.py",
    "./_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=6),
)
train_dataloader = dict(batch_size=2)  # 200 steps in three minutes on two CPU cores
