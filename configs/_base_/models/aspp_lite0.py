# A small DeepLabV3-like model of stride 16 on EfficientNet-Lite0: what an hour on one CPU core trains.
norm_cfg = dict(type="BN", requires_grad=True)
data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=[127.0, 127.0, 127.0],
    std=[128.0, 128.0, 128.0],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    # Cells lie on the image as in training only where the strides divide its sides.
    test_cfg=dict(size_divisor=32),
)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type="EfficientNetLite",
        out_indices=(0, 1, 2, 3, 4),
        frozen_stages=2,
        pretrained=True,
    ),
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        # stride 32 brought to stride 16, which costs less than dilated stages
        in_channels=[112, 320],
        in_index=[3, 4],
        input_transform="resize_concat",
        channels=128,
        dilations=(1, 3, 6),
        c1_in_channels=0,
        c1_channels=0,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
