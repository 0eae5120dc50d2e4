# PointRend over Semantic FPN on ResNet-50; fine features from the pyramid's finest level.
_base_ = "./fpn_r50.py"
norm_cfg = _base_.norm_cfg
model = dict(
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=dict(
            type="FPNHead",
            in_channels=[256, 256, 256, 256],
            in_index=[0, 1, 2, 3],
            feature_strides=[4, 8, 16, 32],
            channels=128,
            dropout_ratio=-1,
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
