"""Every action of the registry is pressed in the real program by some test. A new action needs a line here."""

from __future__ import annotations

import re
from pathlib import Path

from cockpit.actions import ACTIONS

PRESSED_BY = {
    "pause": "test_keys.py::test_space_pauses_and_continues",
    "step": "test_keys.py::test_n_takes_one_step_while_paused",
    "sample": "test_keys.py::test_s_continues_a_prompt_that_can_be_edited",
    "checkpoint": "test_keys.py::test_c_saves_a_checkpoint",
    "evaluate": "test_keys.py::test_e_evaluates",
    "evaluate_whole": "test_keys.py::test_capital_e_evaluates_on_the_whole_validation_split",
    "reload": "test_keys.py::test_r_shows_what_changed_in_the_profile_and_applies_what_can_change",
    "cooldown": "test_keys.py::test_w_cools_down_and_ends_the_run",
    "extend": "test_keys.py::test_plus_makes_the_run_longer",
    "settings": "test_settings_keys.py::test_l_changes_a_setting_u_takes_it_back_and_s_saves_it",
    "undo": "test_settings_keys.py::test_l_changes_a_setting_u_takes_it_back_and_s_saves_it",
    "agenda": "test_settings_keys.py::test_a_schedules_and_cancels",
    "stop_sampling": "test_keys.py::test_the_console_compares_with_a_checkpoint_and_ctrl_g_stops_what_is_drawn",
    "samples": "test_keys.py::test_t_shows_the_samples_of_the_run_and_their_tokens",
    "memory": "test_keys.py::test_i_shows_what_holds_memory_and_capital_t_where_the_time_went",
    "time": "test_keys.py::test_i_shows_what_holds_memory_and_capital_t_where_the_time_went",
    "plan": "test_keys.py::test_p_plans_the_run_and_the_equals_sign_compares_it_with_a_published_loss",
    "compare": "test_keys.py::test_p_plans_the_run_and_the_equals_sign_compares_it_with_a_published_loss",
    "rewind": "test_rewind_keys.py::test_b_goes_back_to_a_checkpoint_at_another_rate_and_keeps_what_it_leaves",
    "fork": "test_rewind_keys.py::test_f_goes_on_in_a_new_run_from_a_checkpoint",
    "range_test": "test_rewind_keys.py::test_capital_l_tests_rates_and_y_takes_the_suggestion",
    "graph": "test_keys.py::test_g_shows_the_charts_and_their_keys_work_there_while_the_run_goes_on",
    "rougher": "test_keys.py::test_g_shows_the_charts_and_their_keys_work_there_while_the_run_goes_on",
    "smoother": "test_keys.py::test_g_shows_the_charts_and_their_keys_work_there_while_the_run_goes_on",
    "overlays": "test_keys.py::test_o_puts_a_published_loss_behind_the_curve",
    "runs": "test_runs_and_logs.py::test_r_and_v_open_runs_and_log_while_training_goes_on",
    "log": "test_runs_and_logs.py::test_r_and_v_open_runs_and_log_while_training_goes_on",
    "controls": "test_attach.py::test_of_two_screens_one_steers_and_capital_p_takes_the_controls_over_on_both",
    "doctor": "test_doctor_keys.py::test_d_shows_what_was_found_z_silences_it_and_enter_writes_a_profile",
    "report": "test_keys.py::test_capital_s_writes_a_report_while_the_run_goes_on_in_views_too",
    "switch_pane": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "panel_chart": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "panel_instruments": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "panel_time": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "panel_sample": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "panel_log": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "panel_all": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "jump": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "explain": "test_keys.py::test_x_and_a_letter_explain_a_number",
    "scroll_back": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "scroll_on": "test_panes.py::test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse",
    "theme": "test_panes.py::test_a_theme_from_the_palette_and_a_hidden_pane_are_there_the_next_time",
    "help": "test_keys.py::test_question_mark_explains_the_keys",
    "palette": "test_keys.py::test_ctrl_p_opens_the_palette_and_runs_an_action",
    "quit": "test_keys.py::test_q_save_and_stop_leaves_a_checkpoint_and_a_report",
}
"""Id of an action → a test in this folder that presses its key in a pseudo-terminal."""


def test_every_action_has_a_test_in_a_pseudo_terminal() -> None:
    missing = [action.id for action in ACTIONS if action.id not in PRESSED_BY]
    assert not missing, f"press them in a test in tests/terminal and name that in PRESSED_BY: {missing}"
    for action, test in PRESSED_BY.items():
        file, _, name = test.partition("::")
        text = (Path(__file__).parent / file).read_text()
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{action}: there is no {test}"
