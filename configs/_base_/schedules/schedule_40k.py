_base_ = "./schedule_80k.py"
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=200, by_epoch=False),
    dict(type="PolyLR", eta_min=1e-4, power=0.9, begin=200, end=40000, by_epoch=False),
]
train_cfg = dict(max_iters=40000, val_interval=4000)
default_hooks = dict(checkpoint=dict(interval=4000))
