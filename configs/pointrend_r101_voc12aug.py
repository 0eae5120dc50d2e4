_base_ = "./pointrend_r50_voc12aug.py"
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="open-mmlab://resnet101_v1c")),
)
