# Semantic FPN on EfficientNet-Lite0.
_base_ = "./aspp_lite0.py"
norm_cfg = _base_.norm_cfg
model = dict(
    backbone=dict(out_indices=(1, 2, 3, 4)),
    neck=dict(type="FPN", in_channels=[24, 40, 112, 320], out_channels=64, num_outs=4),
    decode_head=dict(
        _delete_=True,
        type="FPNHead",
        in_channels=[64, 64, 64, 64],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=64,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
)
