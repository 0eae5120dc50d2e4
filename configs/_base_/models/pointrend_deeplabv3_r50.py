# PointRend over DeepLabV3 at output stride 16; fine features from ResNet's stage 2.
_base_ = "./pointrend_r50.py"
norm_cfg = _base_.norm_cfg
model = dict(
    backbone=dict(dilations=(1, 1, 1, 2), strides=(1, 2, 2, 1)),
    neck=None,
    decode_head=dict(
        coarse_head=dict(
            _delete_=True,
            type="ASPPHead",
            in_channels=2048,
            in_index=3,
            channels=512,
            dilations=(1, 6, 12, 18),
            norm_cfg=norm_cfg,
            loss_decode=dict(type="CrossEntropyLoss"),
        ),
    ),
)
