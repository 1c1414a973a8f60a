"""The table of the family of losses: one case for each file of mxloss/loss, walked by test_conformance.py.

A new loss adds one line to `CASES`. What does not apply to a loss is said in its case, with the reason.
"""
import mxloss
from tests.loss import (
    test_content,
    test_focal,
    test_margin_softmax,
    test_smooth_l1,
    test_softmax,
    test_style,
    test_total_variation,
)


class Case:
    """How the conformance test makes a loss, feeds it and knows what is right.

    Args:
        block: function of the block's `weight` that makes it; None where a file has no block.
        inputs: function of a random generator and a dtype that returns a dict of NumPy arrays by name, in the order of
            the block's inputs and with the batch along the first axis of each; the loss is differentiated by the first.
        reference: function of such arrays that returns one float64 loss for each sample, a plain loop.
        bad: list of (constructor's keywords, error's words).
        dtypes: in which the loss is compared with `reference`, with the tolerance of each.
        parameters: function of a random generator that returns a dict of the block's parameters by name.
        num_class: labels from here on are no class; None where there are no classes.
        excused: what does not apply, a dict of a test's name (without ``test_``) to the reason.
        tests: the file of the loss's own tests, where it is not ``test_<stem>.py``.
        names: the public names of the file, where they are not ``<stem>_loss`` and its block.
    """

    def __init__(self, block, inputs=None, reference=None, bad=(), *, dtypes=None, parameters=None, num_class=None,
                 excused=None, tests=None, names=None):
        self.block, self.inputs, self.reference, self.bad = block, inputs, reference, bad
        self.dtypes = dtypes or {"float16": 1e-2, "float32": 2e-5, "float64": 1e-9}
        self.parameters, self.num_class = parameters or (lambda rng: {}), num_class
        self.excused, self.tests, self.names = excused or {}, tests, names


NO_WEIGHT = dict.fromkeys(["sample_weight_scales_each_sample",
                           "a_sample_weight_that_does_not_fit_is_refused_in_words"], "outside_weight does that")
WEIGHT = ({"weight": -1}, r"`weight` must be a finite number >= 0, got -1")

CASES = {
    "activity": Case(None, tests="test_activity.py", names=["activity_penalty", "ActivityPenalty"]),
    "center": Case(None, tests="test_center_operator.py", names=["center_loss", "CenterLoss"]),
    "content": Case(lambda weight: mxloss.ContentLoss(weight=weight), test_content.features, test_content.content_loop,
                    [WEIGHT]),
    "focal": Case(lambda weight: mxloss.FocalLoss(alpha=0.3, gamma=1.5, ignore_label=-1, weight=weight),
                  test_focal.anchors, lambda *arrays: test_focal.focal_loop(*arrays, alpha=0.3, gamma=1.5).mean(axis=1),
                  [WEIGHT, ({"alpha": 1.5}, r"`alpha` must be in \[0, 1\], got 1.5"),
                   ({"gamma": -1}, r"`gamma` must be a finite number >= 0, got -1"),
                   ({"ignore_label": 0.5}, "`ignore_label` must be a whole number, got 0.5"),
                   ({"background": 1}, "`background` must be True or False, got 1")], num_class=4),
    "group": Case(None, names=["LossGroup"]),
    "l2": Case(None, names=["l2_penalty", "L2Penalty"]),
    "margin_softmax": Case(lambda weight: mxloss.MarginSoftmaxLoss(5, 3, scale=4, m1=1.5, m2=0.3, m3=0.1, weight=weight,
                                                                   dtype="float64"),
                           test_margin_softmax.faces, test_margin_softmax.face_loop,
                           [WEIGHT, ({"m1": 0.5}, "`m1` must be a finite number >= 1, got 0.5"),
                            ({"m2": 4}, r"`m2` must be in \[0, 3.14"),
                            ({"m3": -1}, "`m3` must be a finite number >= 0, got -1"),
                            ({"scale": 0}, "`scale` must be a finite number > 0, got 0"),
                            ({"dtype": "float16"}, "`dtype` must be one of 'float32', 'float64', got 'float16'")],
                           dtypes={"float32": 1e-6, "float64": 1e-9}, num_class=5,
                           parameters=test_margin_softmax.directions),
    "penalty": Case(None, names=["WithPenalties", "add_penalty"]),
    "schedule": Case(None, names=["piecewise_linear", "PiecewiseLinear", "WarmUp", "ScheduledWeight"]),
    "smooth_l1": Case(lambda weight: mxloss.SmoothL1Loss(sigma=1.5, weight=weight), test_smooth_l1.box_inputs,
                      test_smooth_l1.box_loop,
                      [WEIGHT, ({"sigma": 0}, "`sigma` must be a finite number > 0, got 0"),
                       ({"normalization": "valid"}, "`normalization` must be one of 'batch', 'regions', got 'valid'"),
                       ({"normalization": 0}, "`normalization` must be a finite number > 0, got 0")],
                      excused=NO_WEIGHT),
    "softmax": Case(lambda weight: mxloss.SoftmaxLoss(axis=1, smoothing=0.1, ignore_label=-1, weight=weight),
                    test_softmax.maps, lambda *arrays: test_softmax.softmax_loop(*arrays, smoothing=0.1).mean(axis=1),
                    [WEIGHT, ({"axis": 0}, "`axis` must be an axis other than 0, which holds the batch, got 0"),
                     ({"smoothing": 2}, r"`smoothing` must be in \[0, 1\], got 2"),
                     ({"ignore_label": "x"}, "`ignore_label` must be a whole number, got 'x'")], num_class=4),
    "style": Case(lambda weight: mxloss.StyleLoss(weight=weight), test_style.features, test_style.style_loop, [WEIGHT],
                  dtypes={"float32": 2e-5, "float64": 1e-9}),
    "total_variation": Case(lambda weight: mxloss.TotalVariationLoss(weight=weight), test_total_variation.images,
                            test_total_variation.total_variation_loop, [WEIGHT]),
}
