#include "mpathd/multipath_config_settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

#include "base/drill_device.hpp"
#include "base/units.hpp"

namespace mpath {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t alias_length_max = 127;
constexpr milliseconds polling_interval_min{100};
constexpr milliseconds checker_timeout_min{100};
constexpr milliseconds duration_max = std::chrono::hours{24};
constexpr unsigned retries_max = 1'000'000;

Applied error(std::string text) { return {.verdict = Applied::Verdict::error, .text = std::move(text)}; }
Applied warning(std::string text) { return {.verdict = Applied::Verdict::warning, .text = std::move(text)}; }

template <typename Number>
std::optional<Number> number_in(std::string_view text, int base = 10) {
  Number number{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool one_of(std::string_view value, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, value) != words.end();
}

Applied expected(std::string_view value, std::string_view what) {
  return error(fmt::format("'{}' is not {}", value, what));
}

// Names become file names of sockets, and words of a reply.
bool fit_for_a_name(std::string_view name) {
  return !name.empty() && name.size() <= alias_length_max && name != "." && name != ".." &&
         std::ranges::none_of(name, [](char c) { return c == '/' || c == '"' || static_cast<unsigned char>(c) <= ' ' || c == 0x7f; });
}

Applied set_grouping(std::string_view value, MapSettings& settings) {
  settings.policy.grouping_written = true;
  if (value == "failover") {
    settings.policy.grouping = GroupingPolicy::failover;
    return {};
  }
  if (value == "multibus") {
    settings.policy.grouping = GroupingPolicy::multibus;
    return {};
  }
  if (value == "group_by_prio") {
    settings.policy.grouping = GroupingPolicy::group_by_prio;
    return {};
  }
  if (!one_of(value, {"group_by_serial", "group_by_node_name", "group_by_tpg"}))
    return expected(value, "a grouping policy (failover, multibus, group_by_prio)");
  settings.policy.grouping = GroupingPolicy::failover;
  return warning(fmt::format("{} is not there yet and acts as failover", value));
}

Applied set_prio(std::string_view value, MapSettings& settings) {
  if (one_of(value, {"const", "alua"})) {
    settings.policy.prioritizer = value == "alua" ? Prioritizer::alua : Prioritizer::constant;
    return {};
  }
  if (value == "sysfs") {
    settings.policy.prioritizer = Prioritizer::alua;
    return warning("sysfs acts as alua");
  }
  if (!one_of(value, {"none", "emc", "rdac", "hp_sw", "hds", "ontap", "netapp", "datacore", "iet", "ana", "random", "weightedpath",
                      "path_latency"}))
    return expected(value, "a prioritizer (const, alua)");
  settings.policy.prioritizer = Prioritizer::constant;
  return warning(fmt::format("{} is not there and acts as const", value));
}

Applied set_prio_args(std::string_view value, MapSettings& settings) {
  settings.policy.exclusive_pref_bit = value == "exclusive_pref_bit";
  if (settings.policy.exclusive_pref_bit || one_of(value, {"", "none"})) return {};
  return warning(fmt::format("'{}' has no effect: only exclusive_pref_bit has", value));
}

Applied set_detect_prio(std::string_view value, MapSettings& settings) {
  const auto flag = parse_yes_no(value);
  if (!flag) return expected(value, "yes or no");
  settings.policy.detect_prio = *flag;
  return {};
}

Applied set_detect_pgpolicy(std::string_view value, MapSettings& settings) {
  const auto flag = parse_yes_no(value);
  if (!flag) return expected(value, "yes or no");
  settings.policy.detect_grouping = *flag;
  return {};
}

// "service-time 0": the number of arguments belongs to the name, and there are none.
Applied set_selector(std::string_view value, MapSettings& settings) {
  const std::string_view name = value.ends_with(" 0") ? value.substr(0, value.find(' ')) : value;
  if (name == "round-robin") {
    settings.policy.selector = SelectorKind::round_robin;
  } else if (name == "queue-length") {
    settings.policy.selector = SelectorKind::queue_length;
  } else if (name == "service-time") {
    settings.policy.selector = SelectorKind::service_time;
  } else if (one_of(name, {"historical-service-time", "io-affinity"})) {
    settings.policy.selector = SelectorKind::service_time;
    return warning(fmt::format("{} is not there yet and acts as service-time", name));
  } else {
    return expected(value, "a path selector (\"round-robin 0\", \"queue-length 0\", \"service-time 0\")");
  }
  return {};
}

Applied set_rr_min_io(std::string_view value, MapSettings& settings) {
  const auto number = number_in<unsigned>(value);
  if (!number || *number == 0 || *number > retries_max) return expected(value, "a number of requests, 1 to 1000000");
  settings.policy.rr_min_io = *number;
  return {};
}

Applied set_checker(std::string_view value, MapSettings& settings) {
  if (value == "tur") {
    settings.policy.checker = CheckerKind::tur;
    return {};
  }
  if (value == "directio") {
    settings.policy.checker = CheckerKind::directio;
    return {};
  }
  if (value == "readsector0") {
    settings.policy.checker = CheckerKind::directio;
    return warning("readsector0 acts as directio");
  }
  if (!one_of(value, {"rdac", "emc_clariion", "hp_sw", "cciss_tur", "none"}))
    return expected(value, "a path checker (tur, directio)");
  settings.policy.checker = CheckerKind::tur;
  return warning(fmt::format("{} is not there and acts as tur", value));
}

Applied set_failback(std::string_view value, MapSettings& settings) {
  if (value == "immediate") {
    settings.policy.failback = Failback::immediate;
    return {};
  }
  if (value == "manual") {
    settings.policy.failback = Failback::manual;
    return {};
  }
  if (value == "followover") {
    settings.policy.failback = Failback::manual;
    return warning("followover is not there yet and acts as manual");
  }
  if (!number_in<unsigned>(value)) return expected(value, "immediate or manual");
  settings.policy.failback = Failback::immediate;
  return warning("a deferred failback is not there yet and acts as immediate");
}

Applied set_no_path_retry(std::string_view value, MapSettings& settings) {
  NoPathRetry& retry = settings.policy.no_path_retry;
  if (one_of(value, {"fail", "0"})) {
    retry = {.mode = NoPathRetry::Mode::fail};
    return {};
  }
  if (value == "queue") {
    retry = {.mode = NoPathRetry::Mode::queue};
    return {};
  }
  const auto checks = number_in<unsigned>(value);
  if (!checks || *checks > retries_max) return expected(value, "fail, queue or a number of checks");
  retry = {.mode = NoPathRetry::Mode::count, .checks = *checks};
  return {};
}

Applied set_polling_interval(std::string_view value, MapSettings& settings) {
  const auto interval = parse_duration(value);
  if (!interval || *interval < polling_interval_min || *interval > duration_max) return expected(value, "a time of 100ms to 24h");
  settings.policy.polling_interval = *interval;
  return {};
}

Applied set_checker_timeout(std::string_view value, MapSettings& settings) {
  const auto timeout = parse_duration(value);
  if (!timeout || *timeout < checker_timeout_min || *timeout > duration_max) return expected(value, "a time of 100ms to 24h");
  settings.policy.checker_timeout = *timeout;
  return {};
}

// WORD, or WORD and the wait in ms.
Applied set_write_fence(std::string_view value, MapSettings& settings) {
  constexpr std::string_view shape = "reinstate, lu_reset, wait or none, and a wait in milliseconds if need be";
  const std::size_t space = value.find(' ');
  const std::string_view word = value.substr(0, space);
  Parsed<milliseconds> wait = settings.policy.write_fence_wait;
  if (space != value.npos) wait = parse_duration(value.substr(space + 1), milliseconds{1});
  if (!wait || *wait < milliseconds{0} || *wait > duration_max) return expected(value, shape);
  if (word == "wait" && space == value.npos) return error("wait needs a time: \"wait 5000\"");
  WriteFence fence{};
  if (word == "reinstate") fence = WriteFence::reinstate;
  else if (word == "lu_reset") fence = WriteFence::lu_reset;
  else if (word == "wait") fence = WriteFence::wait;
  else if (word == "none") fence = WriteFence::none;
  else return expected(value, shape);
  settings.policy.write_fence = fence;
  settings.policy.write_fence_wait = *wait;
  if (fence == WriteFence::none)
    return warning("none: a write that was given up on one path may still run after a later one");
  return {};
}

Applied set_export(std::string_view value, MapSettings& settings) {
  auto kinds = parse_export_kinds(value);
  if (!kinds) return expected(value, "nbd-socket, nbd, tcmu, ublk (several with blanks between, in quotes), or none");
  settings.exports.kinds = *std::move(kinds);
  return {};
}

Applied set_socket_mode(std::string_view value, MapSettings& settings) {
  const auto mode = number_in<unsigned>(value, 8);
  if (!mode || *mode > 0777) return expected(value, "an octal file mode, at most 0777");
  settings.exports.nbd_socket_mode = *mode;
  return {};
}

// Checked here, so that a mistake shows when the file is read and not when a map comes up.
Applied set_drill(std::string_view value, MapSettings& settings) {
  settings.drill = value == "none" ? std::string() : std::string(value);
  if (settings.drill.empty()) return {};
  if (auto wrong = check_drills(settings.drill)) return error(*std::move(wrong));
  return warning("a drill is in force: requests are delayed or failed on purpose");
}

Applied set_alias(std::string_view value, MapSettings& settings) {
  if (!fit_for_a_name(value)) return expected(value, "a name (no blanks, quotes or slashes, at most 127 bytes)");
  settings.alias = std::string(value);
  return {};
}

Applied set_alias_prefix(std::string_view value, MapSettings& settings) {
  if (!fit_for_a_name(value)) return expected(value, "the beginning of a name (no blanks, quotes or slashes)");
  settings.alias_prefix = std::string(value);
  return {};
}

Applied set_user_friendly_names(std::string_view value, MapSettings& settings) {
  const auto flag = parse_yes_no(value);
  if (!flag) return expected(value, "yes or no");
  settings.user_friendly_names = *flag;
  return {};
}

Applied set_verbosity(std::string_view value, MapSettings& settings) {
  const auto level = number_in<int>(value);
  if (!level || *level < 0 || *level > 6) return expected(value, "a level of 0 to 6");
  settings.verbosity = *level;
  return {};
}

constexpr auto defaults = static_cast<std::uint8_t>(SettingPlace::defaults);
constexpr auto devices = static_cast<std::uint8_t>(SettingPlace::devices);
constexpr auto overrides = static_cast<std::uint8_t>(SettingPlace::overrides);
constexpr auto multipaths = static_cast<std::uint8_t>(SettingPlace::multipaths);
constexpr std::uint8_t general = defaults | devices | overrides;
constexpr std::uint8_t everywhere = general | multipaths;

constexpr MapSetting ignored(std::string_view key, std::uint8_t places) {
  return {key, places, MapSettingType::any, "", "", "", nullptr};
}

constexpr std::array table{
    MapSetting{"verbosity", defaults, MapSettingType::number, "", "2",
                "How much the daemon logs: 0 errors, 1 warnings, 2 state changes, 3 what it does, 4 to 6 details.",
                set_verbosity},
    MapSetting{"polling_interval", everywhere, MapSettingType::duration, "s", "5",
                "Time between two checks of a path that is well.", set_polling_interval},
    MapSetting{"path_selector", everywhere, MapSettingType::text, "", "service-time 0",
                "How the path for the next request is chosen within a group: round-robin, queue-length or service-time.",
                set_selector},
    MapSetting{"path_grouping_policy", everywhere, MapSettingType::word, "", "",
                "multibus: all paths in one group; failover: one group for each path; group_by_prio: one for each priority.",
                set_grouping},
    MapSetting{"prio", everywhere, MapSettingType::word, "", "const",
                "What priorities follow: const (all the same) or alua (the states of the target port groups).", set_prio},
    MapSetting{"prio_args", everywhere, MapSettingType::text, "", "",
                "For alua: exclusive_pref_bit puts the paths of a preferred group above all others.", set_prio_args},
    MapSetting{"detect_prio", general, MapSettingType::flag, "", "yes",
                "Logical units that have port groups with states take prio alua, whatever prio says.", set_detect_prio},
    MapSetting{"detect_pgpolicy", general, MapSettingType::flag, "", "yes",
                "With prio alua they take group_by_prio, unless path_grouping_policy is written.", set_detect_pgpolicy},
    MapSetting{"path_checker", general, MapSettingType::word, "", "tur",
                "What a check sends: tur (TEST UNIT READY) or directio (a read of the first block).", set_checker},
    MapSetting{"checker", general, MapSettingType::word, "", "", "Another name of path_checker.", set_checker},
    MapSetting{"checker_timeout", everywhere, MapSettingType::duration, "s", "30",
                "Deadline of a check and of every command on a path.", set_checker_timeout},
    MapSetting{"rr_min_io_rq", everywhere, MapSettingType::number, "", "1",
                "round-robin: requests sent on a path before the next one is taken.", set_rr_min_io},
    MapSetting{"failback", everywhere, MapSettingType::word, "", "immediate",
                "When a better group is usable again: immediate goes back to it, manual waits for switch map.",
                set_failback},
    MapSetting{"no_path_retry", everywhere, MapSettingType::word, "", "queue",
                "Without a usable path: queue holds requests, fail ends them with an error, N holds them for N polling "
                "intervals.",
                set_no_path_retry},
    MapSetting{"user_friendly_names", everywhere, MapSettingType::flag, "", "no",
                "Maps without an alias are named mpatha, mpathb ... instead of by their WWID.", set_user_friendly_names},
    MapSetting{"alias_prefix", general, MapSettingType::text, "", "mpath", "How such names begin.", set_alias_prefix},
    MapSetting{"alias", multipaths, MapSettingType::text, "", "", "The name of the map.", set_alias},
    MapSetting{"write_fence", everywhere, MapSettingType::text, "ms", "reinstate 5000",
                "What is done before a write without an answer is sent on another path: reinstate logs in again with the "
                "same ISID, lu_reset resets the logical unit, wait only waits, none does nothing. The number is the time "
                "to wait, with wait and when the others fail.",
                set_write_fence},
    MapSetting{"export", everywhere, MapSettingType::text, "", "",
                "How a map can be reached: nbd-socket is an NBD server on a unix socket, nbd is /dev/nbdN, tcmu is "
                "/dev/sdX and ublk /dev/ublkbN; several with blanks between, in quotes; none leaves it without. Where "
                "nothing is written: nbd-socket, and for root nbd too when the kernel has that module loaded.",
                set_export},
    MapSetting{"nbd_socket_mode", everywhere, MapSettingType::number, "", "0600",
                "File mode of that socket, in octal.", set_socket_mode},
    MapSetting{"drill", everywhere, MapSettingType::text, "", "none",
                "Faults put below the exports on purpose, for exercises: see mpathd(8). Never leave one in force.",
                set_drill},
    ignored("rr_min_io", everywhere),
    ignored("max_polling_interval", defaults),
    ignored("reassign_maps", defaults),
    ignored("multipath_dir", defaults),
    ignored("uid_attrs", defaults),
    ignored("uid_attribute", general),
    ignored("getuid_callout", general),
    ignored("features", everywhere),
    ignored("hardware_handler", devices),
    ignored("vpd_vendor", devices),
    ignored("max_fds", defaults),
    ignored("rr_weight", everywhere),
    ignored("queue_without_daemon", defaults),
    ignored("allow_usb_devices", defaults),
    ignored("pg_timeout", everywhere),
    ignored("flush_on_last_del", everywhere),
    ignored("mode", defaults | multipaths),
    ignored("uid", defaults | multipaths),
    ignored("gid", defaults | multipaths),
    ignored("fast_io_fail_tmo", general),
    ignored("dev_loss_tmo", general),
    ignored("eh_deadline", general),
    ignored("max_retries", general),
    ignored("bindings_file", defaults),
    ignored("wwids_file", defaults),
    ignored("prkeys_file", defaults),
    ignored("config_dir", defaults),
    ignored("log_checker_err", defaults),
    ignored("reservation_key", defaults | multipaths),
    ignored("all_tg_pt", general),
    ignored("retain_attached_hw_handler", general),
    ignored("detect_checker", general),
    ignored("detect_pgpolicy_use_tpg", general),
    ignored("force_sync", defaults),
    ignored("strict_timing", defaults),
    ignored("deferred_remove", everywhere),
    ignored("partition_delimiter", defaults),
    ignored("delay_watch_checks", everywhere),
    ignored("delay_wait_checks", everywhere),
    ignored("san_path_err_threshold", everywhere),
    ignored("san_path_err_forget_rate", everywhere),
    ignored("san_path_err_recovery_time", everywhere),
    ignored("marginal_path_err_sample_time", everywhere),
    ignored("marginal_path_err_rate_threshold", everywhere),
    ignored("marginal_path_err_recheck_gap_time", everywhere),
    ignored("marginal_path_double_failed_time", everywhere),
    ignored("marginal_pathgroups", defaults),
    ignored("find_multipaths", defaults),
    ignored("find_multipaths_timeout", defaults),
    ignored("uxsock_timeout", defaults),
    ignored("retrigger_tries", defaults),
    ignored("retrigger_delay", defaults),
    ignored("missing_uev_wait_timeout", defaults),
    ignored("skip_kpartx", everywhere),
    ignored("purge_disconnected", everywhere),
    ignored("disable_changed_wwids", defaults),
    ignored("remove_retries", defaults),
    ignored("max_sectors_kb", everywhere),
    ignored("ghost_delay", everywhere),
    ignored("auto_resize", defaults),
    ignored("enable_foreign", defaults),
    ignored("recheck_wwid", general),
};

}  // namespace

std::span<const MapSetting> map_setting_table() { return table; }

const MapSetting* find_map_setting(std::string_view key) {
  const auto found = std::ranges::find(table, key, &MapSetting::key);
  return found == table.end() ? nullptr : &*found;
}

std::string in_quotes(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"') text += '"';  // a quote within quotes is written twice
    text += c;
  }
  return text + "\"";
}

std::string written(const MapSetting& setting, std::string_view value) {
  const bool plain = setting.type == MapSettingType::number || setting.type == MapSettingType::duration ||
                     ((setting.type == MapSettingType::any || setting.type == MapSettingType::word) &&
                      number_in<std::uint64_t>(value));
  return fmt::format("{} {}", setting.key, plain ? std::string(value) : in_quotes(value));
}

}  // namespace mpath
