# A few minutes on two CPU cores.
_base_ = "./schedule_1500.py"
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="PolyLR", eta_min=1e-6, power=0.9, begin=50, end=200, by_epoch=False),
]
train_cfg = dict(max_iters=200, val_interval=200)
default_hooks = dict(checkpoint=dict(interval=200), logger=dict(interval=20))
