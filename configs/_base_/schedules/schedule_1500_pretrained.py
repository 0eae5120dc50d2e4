# Small models with pretrained backbones in an hour on one CPU core.
_base_ = "./schedule_1500.py"
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.25))))
train_cfg = dict(val_interval=750)
