# PointRend over DeepLabV3 at output stride 16; fine features from ResNet's first stage (stride 4).
_base_ = "./deeplabv3_r50.py"
norm_cfg = _base_.norm_cfg
model = dict(
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=dict(
            type="ASPPHead",
            in_channels=2048,
            in_index=3,
            channels=512,
            dilations=(1, 6, 12, 18),
            norm_cfg=norm_cfg,
            loss_decode=dict(type="CrossEntropyLoss"),
        ),
        in_channels=256,
        in_index=0,
        channels=256,
        num_classes=19,
        point_head=dict(type="PointMLP", num_fcs=3, coarse_pred_each_layer=True),
        point_sampler=dict(type="UncertaintyPointSampler"),
        renderer=dict(type="DenseRenderer"),
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
)
