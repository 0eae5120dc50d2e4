# PointRend over the stride-16 model: four levels, neighborhoods, boundary points. docs/results.md
_base_ = "./aspp_lite0_camvid.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels=[16, 24, 40, 112],
        in_index=[0, 1, 2, 3],
        channels=128,
        num_classes=11,
        point_features=dict(neighborhood=[3, 3, 1, 1]),
        point_head=dict(standardize=True, init_cfg=dict(type="CoarseIdentity")),
        # Four times the stride-16 cells of a crop.
        point_sampler=dict(num_points=1280, boundary_ratio=0.5, padding_mode="border"),
        # To half the image's size: a step to all of it adds specks, and its points pay more before.
        renderer=dict(subdivision_steps=3, subdivision_num_points=3520),
    ),
)
