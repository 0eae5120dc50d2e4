# PointRend over Semantic FPN: all pyramid levels, neighborhoods, boundary points. docs/results.md
_base_ = "./fpn_lite0_camvid.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels=[64, 64, 64],
        in_index=[0, 1, 2],
        channels=128,
        num_classes=11,
        point_features=dict(neighborhood=[3, 1, 1]),
        point_head=dict(standardize=True, init_cfg=dict(type="CoarseIdentity")),
        # Four times the stride-16 cells of a crop, eight times those of an image.
        point_sampler=dict(num_points=1280, boundary_ratio=0.75, padding_mode="border"),
        renderer=dict(subdivision_num_points=5280),
    ),
)
