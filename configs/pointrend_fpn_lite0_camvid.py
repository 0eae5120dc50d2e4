# PointRend over Semantic FPN: stride 2 and the pyramid, neighborhoods, boundary points. docs/results.md
_base_ = "./fpn_lite0_camvid.py"
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3, 4)),
    # stride 2 of the backbone comes before the pyramid, which starts at stride 4 as before
    neck=dict(type="WithFinestLevel", of="FPN", start_level=1, in_channels=[16, 24, 40, 112, 320]),
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=dict(_base_.model.decode_head, in_index=[1, 2, 3, 4]),
        in_channels=[16, 64, 64, 64],
        in_index=[0, 1, 2, 3],
        channels=128,
        num_classes=11,
        point_features=dict(neighborhood=[3, 3, 1, 1]),
        point_head=dict(standardize=True, init_cfg=dict(type="CoarseIdentity")),
        # Four times the stride-16 cells of a crop, and seven times those of a padded image.
        point_sampler=dict(num_points=1280, boundary_ratio=0.75, padding_mode="border"),
        renderer=dict(subdivision_num_points=5280),
    ),
)
