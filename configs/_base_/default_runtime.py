custom_imports = dict(imports=["mmseg_pointrend"], allow_failed_imports=False)
default_scope = "mmseg"
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
# Configs say BN, which runs everywhere; distributed training turns it into PyTorch's SyncBN.
sync_bn = "torch"
# A run can be repeated; each rank draws its own crops and training points.
randomness = dict(seed=0, diff_rank_seed=True)

custom_hooks = [
    dict(type="DataCheckHook"),  # classes and labels fit the model
    dict(type="CheckpointCheckHook"),  # weights fit the model
    dict(type="InvalidLossHook"),  # stops at a loss that is not finite
    dict(type="IterationSeedHook"),  # a resumed run draws what an uninterrupted one draws
]
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="SegLocalVisualizer", vis_backends=vis_backends, name="visualizer")
log_processor = dict(by_epoch=False)
log_level = "INFO"
load_from = None
resume = False

tta_model = dict(type="SegTTAModel")
