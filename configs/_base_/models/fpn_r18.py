# A small Semantic FPN for training from scratch.
_base_ = "./fpn_r50.py"
model = dict(
    backbone=dict(type="ResNet", depth=18, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    decode_head=dict(in_channels=[128, 128, 128, 128], channels=64, dropout_ratio=0),
)
