# The point head alone, on the trained model of ../aspp_lite0_camvid.py.
_base_ = "../pointrend_aspp_lite0_camvid.py"
load_from = "work_dirs/aspp_lite0_camvid/iter_1500.pth"
model = dict(type="RetrofitEncoderDecoder")
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=4e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=5),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="PolyLR", eta_min=1e-6, power=0.9, begin=50, end=1000, by_epoch=False),
]
train_cfg = dict(max_iters=1000, val_interval=1000)
