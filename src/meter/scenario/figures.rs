//! The scenarios and their figures.

use insta::assert_snapshot;

use super::play;

#[test]
fn sixty_a_minute_in_a_bucket_are_used_without_a_refusal() {
    assert_snapshot!(play("told_bucket"), @"0 to 600 s: 593 sent, 593 answered (98.8 %), 0.00 % 429, at most 8 in a second");
}

#[test]
fn sixty_a_minute_in_a_sliding_window_are_used_without_a_refusal() {
    assert_snapshot!(play("told_sliding"), @"0 to 600 s: 591 sent, 591 answered (98.5 %), 0.00 % 429, at most 8 in a second");
}

#[test]
fn sixty_a_minute_in_a_fixed_window_are_used_without_a_refusal() {
    assert_snapshot!(play("told_fixed"), @"0 to 600 s: 593 sent, 593 answered (98.8 %), 0.00 % 429, at most 8 in a second");
}

#[test]
fn a_limit_that_falls_is_followed_at_once_in_a_bucket() {
    assert_snapshot!(play("falls_bucket"), @"
    0 to 180 s: 1780 sent, 1780 answered (98.9 %), 0.00 % 429, at most 10 in a second
    180 to 240 s: 58 sent, 58 answered (96.7 %), 0.00 % 429, at most 10 in a second
    240 to 600 s: 354 sent, 354 answered (98.3 %), 0.00 % 429, at most 1 in a second
    ");
}

#[test]
fn a_limit_that_falls_is_followed_within_one_sliding_window() {
    assert_snapshot!(play("falls_sliding"), @"
    0 to 180 s: 1780 sent, 1780 answered (98.9 %), 0.00 % 429, at most 10 in a second
    180 to 240 s: 1 sent, 0 answered (0.0 %), 100.00 % 429, at most 1 in a second
    240 to 600 s: 354 sent, 354 answered (98.3 %), 0.00 % 429, at most 1 in a second
    ");
}

#[test]
fn a_limit_that_falls_is_followed_within_one_fixed_window() {
    assert_snapshot!(play("falls_fixed"), @"
    0 to 180 s: 1780 sent, 1780 answered (98.9 %), 0.00 % 429, at most 10 in a second
    180 to 240 s: 52 sent, 52 answered (86.7 %), 0.00 % 429, at most 10 in a second
    240 to 600 s: 355 sent, 355 answered (98.6 %), 0.00 % 429, at most 1 in a second
    ");
}

#[test]
fn a_limit_that_rises_is_used_at_once() {
    assert_snapshot!(play("rises"), @"
    0 to 300 s: 296 sent, 296 answered (98.7 %), 0.00 % 429, at most 8 in a second
    305 to 600 s: 2906 sent, 2906 answered (98.5 %), 0.00 % 429, at most 10 in a second
    ");
}

#[test]
fn without_headers_a_bucket_is_found_by_trying() {
    assert_snapshot!(play("absent_bucket"), @"
    0 to 1800 s: 1865 sent, 1856 answered (103.1 %), 0.48 % 429, at most 28 in a second
    0 to 120 s: 183 sent, 178 answered (148.3 %), 2.73 % 429, at most 28 in a second
    600 to 1800 s: 1200 sent, 1198 answered (99.8 %), 0.17 % 429, at most 2 in a second
    ");
}

#[test]
fn without_headers_a_sliding_window_is_found_by_trying() {
    assert_snapshot!(play("absent_sliding"), @"
    0 to 1800 s: 1783 sent, 1770 answered (98.3 %), 0.73 % 429, at most 28 in a second
    0 to 120 s: 117 sent, 110 answered (91.7 %), 5.98 % 429, at most 28 in a second
    600 to 1800 s: 1191 sent, 1188 answered (99.0 %), 0.25 % 429, at most 2 in a second
    ");
}

#[test]
fn without_headers_a_fixed_window_is_found_by_trying() {
    assert_snapshot!(play("absent_fixed"), @"
    0 to 1800 s: 1800 sent, 1785 answered (99.2 %), 0.83 % 429, at most 28 in a second
    0 to 120 s: 117 sent, 110 answered (91.7 %), 5.98 % 429, at most 28 in a second
    600 to 1800 s: 1200 sent, 1197 answered (99.8 %), 0.25 % 429, at most 2 in a second
    ");
}

#[test]
fn without_headers_a_larger_limit_is_found_too() {
    assert_snapshot!(play("absent_600"), @"
    0 to 1800 s: 17499 sent, 17485 answered (97.1 %), 0.08 % 429, at most 174 in a second
    0 to 120 s: 1048 sent, 1039 answered (86.6 %), 0.86 % 429, at most 174 in a second
    600 to 1800 s: 11748 sent, 11746 answered (97.9 %), 0.02 % 429, at most 11 in a second
    ");
}

#[test]
fn a_bucket_that_allows_no_burst_is_found_by_steps() {
    assert_snapshot!(play("absent_small_burst"), @"
    0 to 1800 s: 17204 sent, 17195 answered (95.5 %), 0.05 % 429, at most 13 in a second
    0 to 120 s: 887 sent, 882 answered (73.5 %), 0.56 % 429, at most 13 in a second
    600 to 1800 s: 11728 sent, 11726 answered (97.7 %), 0.02 % 429, at most 11 in a second
    ");
}

#[test]
fn retry_after_alone_is_enough() {
    assert_snapshot!(play("absent_retry_after"), @"
    0 to 1800 s: 1789 sent, 1781 answered (98.9 %), 0.45 % 429, at most 28 in a second
    0 to 120 s: 122 sent, 120 answered (100.0 %), 1.64 % 429, at most 28 in a second
    600 to 1800 s: 1191 sent, 1188 answered (99.0 %), 0.25 % 429, at most 2 in a second
    ");
}

#[test]
fn without_headers_a_limit_that_falls_is_found_again() {
    assert_snapshot!(play("absent_falls"), @"
    600 to 900 s: 222 sent, 205 answered (68.3 %), 7.66 % 429, at most 10 in a second
    900 to 1800 s: 884 sent, 883 answered (98.1 %), 0.11 % 429, at most 2 in a second
    ");
}

#[test]
fn without_headers_a_limit_that_rises_is_found_in_time() {
    assert_snapshot!(play("absent_rises"), @"
    600 to 1200 s: 604 sent, 604 answered (10.1 %), 0.00 % 429, at most 2 in a second
    1200 to 1800 s: 811 sent, 811 answered (13.5 %), 0.00 % 429, at most 5 in a second
    1800 to 3600 s: 17238 sent, 17232 answered (95.7 %), 0.03 % 429, at most 18 in a second
    ");
}

#[test]
fn a_server_that_always_asks_for_one_second_is_not_asked_every_second() {
    assert_snapshot!(play("always_one"), @"
    0 to 1800 s: 1831 sent, 1811 answered (100.6 %), 1.09 % 429, at most 28 in a second
    0 to 120 s: 166 sent, 158 answered (131.7 %), 4.82 % 429, at most 28 in a second
    600 to 1800 s: 1201 sent, 1198 answered (99.8 %), 0.25 % 429, at most 2 in a second
    ");
}

#[test]
fn a_server_that_asks_for_no_pause_gets_one() {
    assert_snapshot!(play("always_zero"), @"
    0 to 1800 s: 1832 sent, 1812 answered (100.7 %), 1.09 % 429, at most 28 in a second
    0 to 120 s: 167 sent, 159 answered (132.5 %), 4.79 % 429, at most 28 in a second
    600 to 1800 s: 1201 sent, 1198 answered (99.8 %), 0.25 % 429, at most 2 in a second
    ");
}

#[test]
fn a_clock_that_jumps_makes_no_long_pause() {
    assert_snapshot!(play("clock_jumps"), @"0 to 900 s: 925 sent, 919 answered (102.1 %), 0.65 % 429, at most 28 in a second");
}

#[test]
fn a_limit_told_too_high_is_found_out() {
    assert_snapshot!(play("lies_upwards"), @"0 to 1800 s: 1788 sent, 1781 answered (98.9 %), 0.39 % 429, at most 10 in a second");
}

#[test]
fn a_limit_told_too_low_is_kept() {
    assert_snapshot!(play("lies_downwards"), @"0 to 600 s: 593 sent, 593 answered (9.9 %), 0.00 % 429, at most 8 in a second");
}

#[test]
fn an_account_said_to_be_empty_is_used_while_it_accepts() {
    assert_snapshot!(play("lies_empty"), @"0 to 600 s: 538 sent, 538 answered (89.7 %), 0.00 % 429, at most 8 in a second");
}

#[test]
fn tokens_of_a_bucket_are_used() {
    assert_snapshot!(play("tokens"), @"0 to 600 s: 985 sent, 985 answered (98.5 %), 0.00 % 429, at most 8 in a second");
}

#[test]
fn tokens_of_a_sliding_window_are_used() {
    assert_snapshot!(play("tokens_sliding"), @"0 to 600 s: 983 sent, 983 answered (98.3 %), 0.00 % 429, at most 8 in a second");
}

#[test]
fn tokens_counted_at_their_bound_are_paced_by_what_is_left() {
    assert_snapshot!(play("tokens_needed"), @"0 to 1800 s: 1254 sent, 1234 answered (102.8 %), 1.59 % 429, at most 8 in a second");
}

#[test]
fn a_shared_bucket_is_used_without_many_refusals() {
    assert_snapshot!(play("shared_bucket"), @"
    0 to 600 s: 386 sent, 374 answered (115.8 %), 3.11 % 429, at most 8 in a second
    180 to 600 s: 221 sent, 219 answered (97.3 %), 0.90 % 429, at most 1 in a second
    ");
}

#[test]
fn a_shared_sliding_window_is_used_without_many_refusals() {
    assert_snapshot!(play("shared_sliding"), @"
    0 to 600 s: 309 sent, 299 answered (87.4 %), 3.24 % 429, at most 8 in a second
    180 to 600 s: 202 sent, 196 answered (85.2 %), 2.97 % 429, at most 1 in a second
    ");
}

#[test]
fn a_shared_fixed_window_is_used_to_its_end() {
    assert_snapshot!(play("shared_fixed"), @"
    0 to 600 s: 353 sent, 345 answered (100.0 %), 2.27 % 429, at most 8 in a second
    180 to 600 s: 249 sent, 243 answered (100.0 %), 2.41 % 429, at most 1 in a second
    ");
}

#[test]
fn headers_that_come_late_are_read_as_old_in_a_fixed_window() {
    assert_snapshot!(play("slow_answers"), @"
    0 to 900 s: 8050 sent, 8050 answered (89.4 %), 0.00 % 429, at most 11 in a second
    180 to 880 s: 6918 sent, 6918 answered (98.8 %), 0.00 % 429, at most 10 in a second
    ");
}

#[test]
fn headers_that_come_late_are_read_as_old_in_a_sliding_window() {
    assert_snapshot!(play("slow_answers_sliding"), @"
    0 to 900 s: 8050 sent, 8050 answered (89.4 %), 0.00 % 429, at most 11 in a second
    180 to 880 s: 6918 sent, 6918 answered (98.8 %), 0.00 % 429, at most 10 in a second
    ");
}

#[test]
fn a_small_fixed_window_is_used_though_headers_come_late() {
    assert_snapshot!(play("slow_answers_60"), @"
    0 to 900 s: 859 sent, 859 answered (95.4 %), 0.00 % 429, at most 8 in a second
    180 to 880 s: 690 sent, 690 answered (98.6 %), 0.00 % 429, at most 1 in a second
    ");
}

#[test]
fn a_dead_endpoint_is_probed_and_used_again_when_it_is_back() {
    assert_snapshot!(play("dead"), @"
    0 to 119 s: 13669 sent, 13669 answered, 0.00 % 429, at most 131 in a second
    121 to 420 s: 9 sent, 0 answered, 0.00 % 429, at most 1 in a second
    490 to 900 s: 47287 sent, 47287 answered, 0.00 % 429, at most 134 in a second
    ");
}

#[test]
fn after_a_pause_those_who_wait_start_at_the_pace_of_the_limit() {
    assert_snapshot!(play("pause"), @"
    121 to 180 s: 0 sent, 0 answered (0.0 %), 0.00 % 429, at most 0 in a second
    180 to 190 s: 98 sent, 98 answered (98.0 %), 0.00 % 429, at most 11 in a second
    180 to 360 s: 1762 sent, 1762 answered (97.9 %), 0.00 % 429, at most 11 in a second
    ");
}

#[test]
fn after_a_pause_without_a_known_limit_no_herd_starts() {
    assert_snapshot!(play("pause_unknown"), @"
    0 to 120 s: 54672 sent, 54669 answered, 0.01 % 429, at most 493 in a second
    121 to 180 s: 0 sent, 0 answered, 0.00 % 429, at most 0 in a second
    180 to 182 s: 522 sent, 522 answered, 0.00 % 429, at most 277 in a second
    180 to 360 s: 80495 sent, 80495 answered, 0.00 % 429, at most 494 in a second
    ");
}

#[test]
fn a_server_that_takes_forty_at_once_is_kept_near_forty() {
    assert_snapshot!(play("overloaded"), @"0 to 300 s: 17495 sent, 17349 answered, 0.00 % 429, at most 80 in a second");
}

#[test]
fn two_hundred_and_fifty_six_workers_are_in_flight_within_a_second() {
    assert_snapshot!(play("fast"), @"
    0 to 1 s: 3062 sent, 3062 answered, 0.00 % 429, at most 3062 in a second
    1 to 6 s: 25472 sent, 25472 answered, 0.00 % 429, at most 5120 in a second
    ");
}

#[test]
fn the_users_limit_is_kept_below_the_accounts() {
    assert_snapshot!(play("user_rpm"), @"0 to 600 s: 300 sent, 300 answered (50.0 %), 0.00 % 429, at most 1 in a second");
}

#[test]
fn without_headers_a_small_limit_is_found_too() {
    assert_snapshot!(play("absent_10"), @"
    0 to 600 s: 108 sent, 90 answered (90.0 %), 16.67 % 429, at most 8 in a second
    600 to 3600 s: 465 sent, 459 answered (91.8 %), 1.29 % 429, at most 1 in a second
    ");
}
