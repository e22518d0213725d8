#include "base/filter_device.hpp"

#include <fmt/format.h>

#include <functional>
#include <optional>
#include <utility>

#include "base/block_names.hpp"
#include "base/delay_device.hpp"
#include "base/error_device.hpp"
#include "base/log_device.hpp"
#include "base/stats_device.hpp"

namespace mpath {
namespace {

using Made = Parsed<std::unique_ptr<FilterDevice>>;

// Takes one `key=value`; answers with what is wrong, or nothing.
using Option = std::function<std::optional<std::string>(std::string_view key, std::string_view value)>;

std::optional<std::string> each_option(std::string_view options, const Option& take) {
  while (!options.empty()) {
    const std::size_t end = std::min(options.find(','), options.size());
    const std::string_view option = options.substr(0, end);
    options.remove_prefix(std::min(end + 1, options.size()));
    const std::size_t equals = option.find('=');
    if (equals == std::string_view::npos) return fmt::format("\"{}\" is not key=value", option);
    if (auto wrong = take(option.substr(0, equals), option.substr(equals + 1))) return wrong;
  }
  return std::nullopt;
}

template <typename T, typename Target>
std::optional<std::string> store(const Parsed<T>& value, Target& target) {
  if (!value) return value.error();
  target = static_cast<Target>(*value);
  return std::nullopt;
}

std::optional<std::string> unknown(std::string_view key) { return fmt::format("unknown option \"{}\"", key); }

Made make_delay(std::string_view options, BlockDevice& behind, Clock& clock) {
  DelayDevice::Delays delays;
  const auto wrong = each_option(options, [&](std::string_view key, std::string_view value) -> std::optional<std::string> {
    if (key == "seed") return store(parse_integer(value, 0, 0xffffffff), delays.seed);
    const auto time = parse_duration_us(value, std::chrono::milliseconds(1));
    if (!time) return time.error();
    if (key == "jitter") {
      delays.jitter = *time;
    } else if (key == "all") {
      delays.of.fill(*time);
    } else if (const auto op = parse_block_op(key)) {
      delays.of[static_cast<std::size_t>(*op)] = *time;
    } else {
      return unknown(key);
    }
    return std::nullopt;
  });
  if (wrong) return std::unexpected("delay: " + *wrong);
  return std::make_unique<DelayDevice>(behind, clock, delays);
}

Made make_error(std::string_view options, BlockDevice& behind) {
  ErrorDevice::Conditions conditions;
  const auto wrong = each_option(options, [&](std::string_view key, std::string_view value) -> std::optional<std::string> {
    if (key == "rate") return store(parse_fraction(value), conditions.rate);
    if (key == "offset") return store(parse_size(value), conditions.offset);
    if (key == "length") return store(parse_size(value), conditions.length);
    if (key == "count") return store(parse_integer(value, 0), conditions.count);
    if (key == "seed") return store(parse_integer(value, 0, 0xffffffff), conditions.seed);
    if (key == "op") {
      conditions.op = parse_block_op(value);
      if (!conditions.op) return fmt::format("\"{}\" is not an operation", value);
      return std::nullopt;
    }
    if (key == "status") {
      const auto status = parse_block_status(value);
      if (!status || *status == BlockStatus::ok) return fmt::format("\"{}\" is not a status of failure", value);
      conditions.status = *status;
      return std::nullopt;
    }
    return unknown(key);
  });
  if (wrong) return std::unexpected("error: " + *wrong);
  return std::make_unique<ErrorDevice>(behind, conditions);
}

Made make_log(std::string_view options, BlockDevice& behind, Clock& clock, const Log& log) {
  LogDevice::Options chosen;
  const auto wrong = each_option(options, [&](std::string_view key, std::string_view value) -> std::optional<std::string> {
    if (key == "slow") return store(parse_duration_us(value, std::chrono::milliseconds(1)), chosen.slow);
    if (key == "level") {
      const auto level = parse_level(value);
      if (!level) return fmt::format("\"{}\" is not a level", value);
      chosen.level = *level;
      return std::nullopt;
    }
    return unknown(key);
  });
  if (wrong) return std::unexpected("log: " + *wrong);
  return std::make_unique<LogDevice>(behind, clock, log, chosen);
}

}  // namespace

Made wrap_device(std::string_view spec, BlockDevice& behind, Clock& clock, const Log& log) {
  const std::size_t colon = std::min(spec.find(':'), spec.size());
  const std::string_view kind = spec.substr(0, colon);
  const std::string_view options = spec.substr(std::min(colon + 1, spec.size()));
  if (kind == "delay") return make_delay(options, behind, clock);
  if (kind == "error") return make_error(options, behind);
  if (kind == "log") return make_log(options, behind, clock, log);
  if (kind == "stats") {
    if (!options.empty()) return std::unexpected("stats: takes no options");
    return std::make_unique<StatsDevice>(behind, clock);
  }
  return std::unexpected(fmt::format("unknown drill \"{}\": delay, error, log or stats", kind));
}

}  // namespace mpath
