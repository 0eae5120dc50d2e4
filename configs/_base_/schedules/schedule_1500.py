# Small models from scratch in an hour on two CPU cores.
_base_ = "./schedule_80k.py"
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.01),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="PolyLR", eta_min=1e-6, power=0.9, begin=100, end=1500, by_epoch=False),
]
train_cfg = dict(max_iters=1500, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500, max_keep_ckpts=2))
