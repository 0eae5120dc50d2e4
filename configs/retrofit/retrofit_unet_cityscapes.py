# U-Net: fine features of strides 4 and 1, predicted window by window.
_base_ = [
    "../_base_/models/fcn_unet.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/schedule_20k_point_head.py",
    "../_base_/default_runtime.py",
]
load_from = "https://download.openmmlab.com/mmsegmentation/v0.5/unet/fcn_unet_s5-d16_4x4_512x1024_160k_cityscapes/fcn_unet_s5-d16_4x4_512x1024_160k_cityscapes_20211210_145204-6860854e.pth"
model = dict(
    type="RetrofitEncoderDecoder",
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels=[256, 64],
        in_index=[2, 4],
        channels=256,
        point_head=dict(init_cfg=dict(type="CoarseIdentity")),
        num_classes=_base_.model.decode_head.num_classes,
        # Its logits have the size of the image already. One step beyond relabels the least certain
        # points half a pixel apart, and the resize that follows averages them.
        renderer=dict(type="DenseRenderer", subdivision_steps=1, subdivision_num_points=8192),
    ),
    test_cfg=dict(mode="slide", crop_size=(512, 1024), stride=(341, 683)),
)
