# DeepLabV3 on ResNet-50 at output stride 16: the coarse model of pointrend_deeplabv3_r50.py on its own.
_base_ = "./fpn_r50.py"
norm_cfg = _base_.norm_cfg
model = dict(
    backbone=dict(dilations=(1, 1, 1, 2), strides=(1, 2, 2, 1)),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type="ASPPHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        dilations=(1, 6, 12, 18),
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
)
