// Section `lu`, and the units that the Lun lines of ietd.conf describe where they stand.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <filesystem>

#include "base/drill_device.hpp"
#include "target/config/config_builder.hpp"

namespace mpath::target {
namespace {

constexpr std::size_t unit_name_max = 64;

std::string lower(std::string_view text) {
  std::string low(text);
  for (char& letter : low) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return low;
}

}  // namespace

bool valid_unit_name(std::string_view name) {
  return !name.empty() && name.size() <= unit_name_max && name.front() != '.' && name.front() != '-' &&
         std::ranges::all_of(name, [](char letter) {
           return std::isalnum(static_cast<unsigned char>(letter)) || letter == '.' || letter == '_' || letter == '-';
         });
}

void ConfigBuilder::build_unit(const Item& item) {
  const SettingValues& values = values_of(item);
  LuConfig unit{.name = item.section.label, .origin = item.section.origin};
  unit.managed = result_.objects[item.object].managed;
  if (!valid_unit_name(unit.name))
    complain(unit.origin, fmt::format("\"{}\" is no name for a unit: letters, digits, . _ - and at most {} of them",
                                      unit.name, unit_name_max));
  StoreOptions& store = unit.store;
  store.name = unit.name;
  const std::string type = values.text("type");
  store.kind = type == "block"  ? StoreKind::block
               : type == "ram"  ? StoreKind::ram
               : type == "null" ? StoreKind::null
                                : StoreKind::file;
  const bool on_medium = store.kind == StoreKind::file || store.kind == StoreKind::block;
  store.path = values.text("path");
  if (on_medium && !store.path.starts_with('/'))
    complain(unit.origin, fmt::format("lu {} needs a path that begins with /", unit.name));
  if (!on_medium && values.is_set("path"))
    warn(values.origin("path"), fmt::format("path has no effect with type {}", type));
  if (on_medium) remember_path(store.path, unit.name, unit.origin);
  if (values.is_set("size")) store.size_bytes = values.size("size");
  store.block_bytes = values.text("block_size") == "4096" ? 4096 : 512;
  if (!on_medium && store.size_bytes == 0)
    complain(unit.origin, fmt::format("lu {} of type {} needs a size", unit.name, type));
  if (store.size_bytes % store.block_bytes != 0)
    complain(values.origin("size"), fmt::format("the size is no multiple of the block of {} bytes", store.block_bytes));
  if (store.kind == StoreKind::block && values.is_set("size"))
    warn(values.origin("size"), "size has no effect with type block: a device has its own");
  store.create = values.yes_no("create");
  if (store.create && store.kind == StoreKind::file && store.size_bytes == 0)
    complain(unit.origin, fmt::format("lu {}: a file that is made needs a size", unit.name));
  store.direct = values.yes_no("direct");
  store.read_only = values.yes_no("read_only");
  const std::string engine = values.text("engine");
  store.engine = engine == "io_uring"  ? StoreEngine::io_uring
                 : engine == "threads" ? StoreEngine::threads
                                       : StoreEngine::automatic;
  build_unit_options(values, unit);
  take_replicated(values, unit);
  unit.drill = values.text("drill");
  if (const auto wrong = unit.drill.empty() ? std::nullopt : check_drills(unit.drill))
    complain(values.origin("drill"), *wrong);
  unit.fingerprint = fingerprint(values);
  result_.config.units.push_back(std::move(unit));
}

void ConfigBuilder::build_unit_options(const SettingValues& values, LuConfig& unit) {
  LuOptions& options = unit.unit;
  options.name = unit.name;
  options.product = values.text("product");
  options.revision = values.text("revision");
  if (options.product.size() > 16) complain(values.origin("product"), "product has more than 16 characters");
  if (options.revision.size() > 4) complain(values.origin("revision"), "revision has more than 4 characters");
  const std::uint64_t physical = values.size("physical_block");
  if (!std::has_single_bit(physical) || physical < unit.store.block_bytes) {
    if (values.is_set("physical_block"))
      complain(values.origin("physical_block"), "a physical block is a power of two, and a logical one at least");
  } else {
    options.physical_exponent = static_cast<std::uint8_t>(std::countr_zero(physical / unit.store.block_bytes));
  }
  options.thin = values.yes_no("thin");
  options.removable = values.yes_no("removable");
  options.no_medium = values.yes_no("no_medium");
  if (options.no_medium && !options.removable)
    complain(values.origin("no_medium"), "only a removable unit can be without its medium");
  options.read_only = unit.store.read_only;
  options.write_cache = values.yes_no("write_cache");
  options.threshold_percent = static_cast<std::uint32_t>(values.integer("threshold"));
  if (options.threshold_percent != 0 && !options.thin)
    warn(values.origin("threshold"), "threshold has no effect without thin");
  options.sanitize_bytes_per_second = values.size("sanitize_rate");
  options.transfer_bytes_max = static_cast<std::uint32_t>(values.size("transfer_max"));
  options.copy_bytes_max = static_cast<std::uint32_t>(values.size("copy_max"));
  if (values.is_set("uuid")) {
    const auto uuid = parse_uuid(values.text("uuid"));
    if (!uuid || *uuid == Uuid{}) {
      complain(values.origin("uuid"), "this is no UUID");
    } else {
      for (const LuConfig& other : result_.config.units) {
        if (other.unit.uuid == *uuid)
          complain(values.origin("uuid"), fmt::format("lu {} has the same uuid", other.name));
      }
      options.uuid = *uuid;
    }
  }
}

void ConfigBuilder::remember_path(const std::string& path, const std::string& unit, const Origin& origin) {
  std::error_code error;
  const auto canonical = std::filesystem::weakly_canonical(path, error);
  const auto [place, fresh] = paths_.emplace(error ? path : canonical.string(), unit);
  if (!fresh) complain(origin, fmt::format("lu {} holds {} too", place->second, path));
}

std::string ConfigBuilder::ietd_unit_name(const std::string& target, std::uint64_t lun) {
  std::string name = fmt::format("{}-lun{}", target.substr(target.rfind(':') + 1), lun);
  for (char& letter : name) {
    if (!std::isalnum(static_cast<unsigned char>(letter)) && letter != '.' && letter != '-') letter = '_';
  }
  if (name.size() > unit_name_max) name = name.substr(name.size() - unit_name_max);
  return name;
}

bool ConfigBuilder::take_ietd_lun(const ConfigEntry& entry, const std::string& target, std::uint64_t lun) {
  LuConfig unit{.name = ietd_unit_name(target, lun), .origin = entry.origin};
  unit.store.name = unit.unit.name = unit.name;
  std::uint64_t sectors = 0;
  bool good = true;
  const auto refuse = [&](std::string what) {
    complain(entry.origin, std::move(what));
    good = false;
  };
  for (const std::string_view part : iscsi::split_list(entry.words[1])) {
    const std::size_t equals = std::min(part.find('='), part.size());
    const std::string key = lower(part.substr(0, equals));
    const std::string value(part.substr(std::min(equals + 1, part.size())));
    if (key == "path") {
      unit.store.path = value;
    } else if (key == "type") {
      if (value == "fileio")
        unit.store.kind = StoreKind::file;
      else if (value == "blockio")
        unit.store.kind = StoreKind::block;
      else if (value == "nullio")
        unit.store.kind = StoreKind::null;
      else
        refuse(fmt::format("Type={} is none of fileio, blockio and nullio", value));
    } else if (key == "iomode") {
      if (value == "ro")
        unit.store.read_only = unit.unit.read_only = true;
      else if (value == "wt")
        unit.unit.write_cache = false;
      else if (value != "wb" && value != "rw")
        refuse(fmt::format("IOMode={} is none of ro, wb and wt", value));
    } else if (key == "sectors") {
      sectors = static_cast<std::uint64_t>(parse_integer(value, 1).value_or(0));
      if (sectors == 0) refuse(fmt::format("Sectors={} is no number", value));
    } else if (key == "blocksize") {
      if (value == "4096")
        unit.store.block_bytes = 4096;
      else if (value != "512")
        refuse(fmt::format("BlockSize={} is none of 512 and 4096", value));
    } else if (key == "scsiid" || key == "scsisn") {
      warn(entry.origin, fmt::format("{} has no effect: identities come from the UUID of the unit", part));
    } else {
      refuse(fmt::format("\"{}\" is unknown in a Lun line", part));
    }
  }
  const bool on_medium = unit.store.kind != StoreKind::null;
  if (on_medium && !unit.store.path.starts_with('/')) refuse("the Lun line needs Path=/...");
  if (!on_medium) unit.store.size_bytes = (sectors != 0 ? sectors : std::uint64_t{1} << 21) * unit.store.block_bytes;
  if (on_medium && good) remember_path(unit.store.path, unit.name, entry.origin);
  unit.unit.physical_exponent = unit.store.block_bytes == 4096 ? 0 : 3;
  unit.fingerprint = entry.value;
  if (good) result_.config.units.push_back(std::move(unit));
  return good;
}

}  // namespace mpath::target
