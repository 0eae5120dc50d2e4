# DeepLabV3+ on ResNet-18 at output stride 8, as MMSegmentation's deeplabv3plus_r18-d8.
_base_ = "./deeplabv3_r50.py"
norm_cfg = _base_.norm_cfg
model = dict(
    backbone=dict(
        depth=18,
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        init_cfg=dict(checkpoint="open-mmlab://resnet18_v1c"),
    ),
    decode_head=dict(
        _delete_=True,
        type="DepthwiseSeparableASPPHead",
        in_channels=512,
        in_index=3,
        channels=128,
        dilations=(1, 12, 24, 36),
        c1_in_channels=64,
        c1_channels=12,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
)
