#include "mpathd/table_format.hpp"

#include <algorithm>
#include <optional>

#include "mpathd/wildcards.hpp"

namespace mpath {
namespace {

constexpr std::size_t column_width_max = 255;

// A format taken apart: text, then the column that follows it (none after the last text).
template <typename Wildcard>
struct Piece {
  std::string text;
  const Wildcard* column = nullptr;
  std::size_t width = 0;
};

template <typename Wildcard>
std::vector<Piece<Wildcard>> take_apart(std::string_view format, std::span<const Wildcard> table) {
  std::vector<Piece<Wildcard>> pieces(1);
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      pieces.back().text += format[i];
      continue;
    }
    if (++i == format.size()) break;
    const auto found = std::ranges::find(table, format[i], &Wildcard::letter);
    if (found == table.end()) continue;
    pieces.back().column = &*found;
    pieces.emplace_back();
  }
  return pieces;
}

void append_padded(std::string& line, std::string_view text, std::size_t width) {
  line += text;
  if (text.size() < width) line.append(width - text.size(), ' ');
}

const PathSnapshot& object(const PathSnapshot* path) { return *path; }
const MapSnapshot& object(const MapSnapshot& map) { return map; }

template <typename Wildcard, typename Row>
std::string format_table(std::string_view format, std::span<const Wildcard> table, std::span<Row> rows,
                         TableStyle style) {
  if (rows.empty()) return {};
  auto pieces = take_apart(format, table);
  std::string text;
  if (style == TableStyle::padded) {
    for (auto& piece : pieces) {
      if (piece.column == nullptr) continue;
      piece.width = piece.column->header.size();
      for (const auto& row : rows)
        piece.width = std::max(piece.width, std::min(piece.column->text(object(row)).size(), column_width_max));
    }
    for (const auto& piece : pieces) {
      text += piece.text;
      if (piece.column != nullptr) append_padded(text, piece.column->header, piece.width);
    }
    text += '\n';
  }
  for (const auto& row : rows) {
    for (const auto& piece : pieces) {
      text += piece.text;
      if (piece.column != nullptr) append_padded(text, piece.column->text(object(row)), piece.width);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string format_paths(std::string_view format, std::span<const PathSnapshot* const> paths, TableStyle style) {
  return format_table(format, path_wildcards(), paths, style);
}

std::string format_maps(std::string_view format, std::span<const MapSnapshot> maps, TableStyle style) {
  return format_table(format, map_wildcards(), maps, style);
}

std::vector<const PathSnapshot*> all_paths(const Snapshot& snapshot) {
  std::vector<const PathSnapshot*> paths;
  for (const MapSnapshot& map : snapshot.maps)
    for (const GroupSnapshot& group : map.groups)
      for (const PathSnapshot& path : group.paths) paths.push_back(&path);
  for (const PathSnapshot& path : snapshot.orphans) paths.push_back(&path);
  return paths;
}

}  // namespace mpath
