# A small DeepLabV3 at output stride 16 for training from scratch.
_base_ = "./deeplabv3_r50.py"
model = dict(
    backbone=dict(type="ResNet", depth=18, init_cfg=None),
    decode_head=dict(in_channels=512, channels=128, dropout_ratio=0),
)
