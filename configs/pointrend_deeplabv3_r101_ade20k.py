_base_ = "./pointrend_deeplabv3_r50_ade20k.py"
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="open-mmlab://resnet101_v1c")),
)
