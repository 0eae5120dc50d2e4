# A small PointRend over DeepLabV3 for training from scratch.
_base_ = "./pointrend_deeplabv3_r50.py"
model = dict(
    backbone=dict(type="ResNet", depth=18, init_cfg=None),
    decode_head=dict(
        coarse_head=dict(in_channels=512, channels=128, dropout_ratio=0),
        in_channels=64,
        channels=128,
    ),
)
